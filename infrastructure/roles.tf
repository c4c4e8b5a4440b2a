# Each stage has a role of its own, and so has what starts it: a stage cannot read the
# secrets of another, nor can it fetch images.

locals {
  stages = {
    train-model = {
      secrets = [
        aws_secretsmanager_secret.signing_key.arn,
        aws_secretsmanager_secret.channels.arn,
      ]
    }
    serve-model = {
      secrets = [aws_secretsmanager_secret.signing_key.arn]
    }
  }
  trust = {
    for service in ["ecs-tasks", "states", "events"] : service => jsonencode({
      Version = "2012-10-17"
      Statement = [{
        Effect    = "Allow"
        Principal = { Service = "${service}.amazonaws.com" }
        Action    = "sts:AssumeRole"
        Condition = {
          StringEquals = {
            "aws:SourceAccount" = data.aws_caller_identity.current.account_id
          }
        }
      }]
    })
  }
}

resource "aws_iam_role" "stage" {
  for_each = local.stages

  name               = "${var.name}-${each.key}"
  assume_role_policy = local.trust["ecs-tasks"]
}

# The same that a stage has on Kubernetes.
resource "aws_iam_role_policy" "stage" {
  for_each = local.stages

  name = each.key
  role = aws_iam_role.stage[each.key].id
  policy = templatefile(
    "${path.module}/policies/${each.key}.json", { bucket = module.bucket.name }
  )
}

resource "aws_iam_role" "start" {
  for_each = local.stages

  name               = "${var.name}-start-${each.key}"
  assume_role_policy = local.trust["ecs-tasks"]
}

resource "aws_iam_role_policy" "start" {
  for_each = local.stages

  name = "start-${each.key}"
  role = aws_iam_role.start[each.key].id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid    = "FetchTheImage"
        Effect = "Allow"
        Action = [
          "ecr:BatchCheckLayerAvailability",
          "ecr:BatchGetImage",
          "ecr:GetDownloadUrlForLayer",
        ]
        Resource = aws_ecr_repository.pipeline.arn
      },
      {
        # AWS knows no resource of it.
        Sid      = "LogInToTheRegistry"
        Effect   = "Allow"
        Action   = "ecr:GetAuthorizationToken"
        Resource = "*"
      },
      {
        Sid      = "WriteTheLog"
        Effect   = "Allow"
        Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
        Resource = "${aws_cloudwatch_log_group.stage[each.key].arn}:*"
      },
      {
        Sid      = "HandOverItsSecrets"
        Effect   = "Allow"
        Action   = "secretsmanager:GetSecretValue"
        Resource = each.value.secrets
      },
    ]
  })
}

resource "aws_iam_role" "run" {
  name               = "${var.name}-run"
  assume_role_policy = local.trust["states"]
}

resource "aws_iam_role_policy" "run" {
  name = "run"
  role = aws_iam_role.run.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "Train"
        Effect   = "Allow"
        Action   = "ecs:RunTask"
        Resource = "${aws_ecs_task_definition.stage["train-model"].arn_without_revision}:*"
        Condition = {
          ArnEquals = { "ecs:cluster" = aws_ecs_cluster.pipeline.arn }
        }
      },
      {
        Sid      = "FollowTraining"
        Effect   = "Allow"
        Action   = ["ecs:DescribeTasks", "ecs:StopTask"]
        Resource = "*"
        Condition = {
          ArnEquals = { "ecs:cluster" = aws_ecs_cluster.pipeline.arn }
        }
      },
      {
        Sid    = "HandOverItsRoles"
        Effect = "Allow"
        Action = "iam:PassRole"
        Resource = [
          aws_iam_role.stage["train-model"].arn,
          aws_iam_role.start["train-model"].arn,
        ]
        Condition = {
          StringEquals = { "iam:PassedToService" = "ecs-tasks.amazonaws.com" }
        }
      },
      {
        # By this rule of its own, Step Functions hears that a task has ended.
        Sid      = "HearOfItsEnd"
        Effect   = "Allow"
        Action   = ["events:DescribeRule", "events:PutRule", "events:PutTargets"]
        Resource = "arn:aws:events:${var.region}:${data.aws_caller_identity.current.account_id}:rule/StepFunctionsGetEventsForECSTaskRule"
      },
      {
        Sid      = "RollTheService"
        Effect   = "Allow"
        Action   = ["ecs:DescribeServices", "ecs:UpdateService"]
        Resource = aws_ecs_service.service.id
      },
      {
        Sid      = "TellOperators"
        Effect   = "Allow"
        Action   = "sns:Publish"
        Resource = aws_sns_topic.operators.arn
      },
    ]
  })
}

resource "aws_iam_role" "start_run" {
  name               = "${var.name}-start-run"
  assume_role_policy = local.trust["events"]
}

resource "aws_iam_role_policy" "start_run" {
  name = "start-run"
  role = aws_iam_role.start_run.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect   = "Allow"
      Action   = "states:StartExecution"
      Resource = aws_sfn_state_machine.run.arn
    }]
  })
}
