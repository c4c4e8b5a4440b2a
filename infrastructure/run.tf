# A run: train, replace the replicas of the service, publish the pages; tell who operates
# it of a failure.

resource "aws_sns_topic" "operators" {
  name = "${var.name}-operators"
}

resource "aws_sns_topic_subscription" "operators" {
  for_each = toset(var.operators)

  topic_arn = aws_sns_topic.operators.arn
  protocol  = "email"
  endpoint  = each.value
}

resource "aws_sfn_state_machine" "run" {
  name     = "${var.name}-run"
  role_arn = aws_iam_role.run.arn
  definition = templatefile("${path.module}/state_machine.json", {
    name            = var.name
    bucket          = module.bucket.name
    cluster         = aws_ecs_cluster.pipeline.arn
    task_definition = aws_ecs_task_definition.stage["train-model"].arn
    subnets         = jsonencode(aws_subnet.public[*].id)
    security_group  = aws_security_group.training.id
    service         = aws_ecs_service.service.name
    topic           = aws_sns_topic.operators.arn
  })
}

resource "aws_cloudwatch_event_rule" "delivery" {
  name        = "${var.name}-delivery"
  description = "A delivery has come."
  event_pattern = jsonencode({
    source      = ["aws.s3"]
    detail-type = ["Object Created"]
    detail = {
      bucket = { name = [module.bucket.name] }
      object = { key = [{ prefix = "datasets/" }] }
    }
  })
}

# S3 tells of nearly every delivery at once; what it forgot is learnt by these.
resource "aws_cloudwatch_event_rule" "weekly" {
  name                = "${var.name}-weekly"
  description         = "45 minutes after the delivery is due, in UTC."
  schedule_expression = "cron(45 23 ? * FRI *)"
}

resource "aws_cloudwatch_event_target" "run" {
  for_each = {
    delivery = aws_cloudwatch_event_rule.delivery.name
    weekly   = aws_cloudwatch_event_rule.weekly.name
  }

  rule     = each.value
  arn      = aws_sfn_state_machine.run.arn
  role_arn = aws_iam_role.start_run.arn
  # The event itself is of no use to a run.
  input = jsonencode({})
}
