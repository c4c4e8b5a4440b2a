locals {
  port = 8000
  environment = {
    train-model = {
      AWS_DEFAULT_REGION = var.region
      GIT_COMMIT_HASH    = var.image_tag
      REPORTS_ADDRESS    = var.reports_address
    }
    serve-model = {
      AWS_DEFAULT_REGION = var.region
    }
  }
  secrets = {
    train-model = {
      MODEL_SIGNING_KEY = aws_secretsmanager_secret.signing_key.arn
      ALERT_URLS        = "${aws_secretsmanager_secret.channels.arn}:ALERT_URLS::"
      REPORT_URLS       = "${aws_secretsmanager_secret.channels.arn}:REPORT_URLS::"
    }
    serve-model = {
      MODEL_SIGNING_KEY = aws_secretsmanager_secret.signing_key.arn
    }
  }
  command = {
    # A delivery that was learnt is not learnt twice, however often it is told of.
    train-model = [
      "python", "-m", "pipeline.train_model", "--only-if-new", var.bucket,
      tostring(var.r_squared_error), tostring(var.r_squared_warning),
    ]
    serve-model = ["python", "-m", "pipeline.serve_model", var.bucket]
  }
  size = {
    train-model = var.training_size
    serve-model = var.service_size
  }
}

resource "aws_ecs_cluster" "pipeline" {
  name = var.name
}

resource "aws_cloudwatch_log_group" "stage" {
  for_each = local.stages

  name              = "/${var.name}/${each.key}"
  retention_in_days = 90
}

resource "aws_ecs_task_definition" "stage" {
  for_each = local.stages

  family                   = "${var.name}-${each.key}"
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = local.size[each.key].cpu
  memory                   = local.size[each.key].memory
  task_role_arn            = aws_iam_role.stage[each.key].arn
  execution_role_arn       = aws_iam_role.start[each.key].arn

  container_definitions = jsonencode([{
    name         = each.key
    image        = local.image
    essential    = true
    command      = local.command[each.key]
    portMappings = each.key == "serve-model" ? [{ containerPort = local.port }] : []
    # Passes signals on, and buries orphans.
    linuxParameters = { initProcessEnabled = true }
    # The service ends when it has answered all: in at most 27 seconds.
    stopTimeout = 60
    environment = [
      for name, value in local.environment[each.key] : { name = name, value = value }
    ]
    secrets = [
      for name, source in local.secrets[each.key] : { name = name, valueFrom = source }
    ]
    logConfiguration = {
      logDriver = "awslogs"
      options = {
        awslogs-group         = aws_cloudwatch_log_group.stage[each.key].name
        awslogs-region        = var.region
        awslogs-stream-prefix = "run"
      }
    }
  }])
}
