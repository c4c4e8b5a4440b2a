# What the stages need of AWS that run elsewhere: on Kubernetes, or on GitHub's runners.

terraform {
  required_version = ">= 1.10"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.100"
    }
  }

  # Which bucket and which key, `terraform init` is told: see docs/aws.md.
  backend "s3" {
    encrypt      = true
    use_lockfile = true
  }
}

provider "aws" {
  region = var.region
}

variable "region" {
  description = "Where the bucket is."
  type        = string
}

variable "bucket" {
  description = "The bucket of deliveries, models, records and pages; its name is global."
  type        = string
}

variable "github_repository" {
  description = "OWNER/NAME of the repository whose workflow trains; null for none."
  type        = string
  default     = null
}

module "bucket" {
  source = "../bucket"

  name = var.bucket
}

# Of the pods: a user for each stage. Keys are made by hand, so that none stands in the
# state: see docs/deploy.md.
resource "aws_iam_user" "stage" {
  for_each = toset(["train-model", "serve-model"])

  name = each.key
}

resource "aws_iam_user_policy" "stage" {
  for_each = aws_iam_user.stage

  name   = each.key
  user   = each.value.name
  policy = local.policies[each.key]
}

locals {
  policies = {
    for stage in ["train-model", "serve-model"] : stage => templatefile(
      "${path.module}/../policies/${stage}.json", { bucket = module.bucket.name }
    )
  }
}

# Of the workflow .github/workflows/pipeline.yml: GitHub's token is taken for a role, by
# the runs of master alone.
resource "aws_iam_openid_connect_provider" "github" {
  count = var.github_repository == null ? 0 : 1

  url            = "https://token.actions.githubusercontent.com"
  client_id_list = ["sts.amazonaws.com"]
}

resource "aws_iam_role" "github" {
  count = var.github_repository == null ? 0 : 1

  name = "github"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Federated = aws_iam_openid_connect_provider.github[0].arn }
      Action    = "sts:AssumeRoleWithWebIdentity"
      Condition = {
        StringEquals = {
          "token.actions.githubusercontent.com:aud" = "sts.amazonaws.com"
          "token.actions.githubusercontent.com:sub" = "repo:${var.github_repository}:ref:refs/heads/master"
        }
      }
    }]
  })
}

resource "aws_iam_role_policy" "github_trains" {
  count = length(aws_iam_role.github)

  name   = "train-model"
  role   = aws_iam_role.github[0].id
  policy = local.policies["train-model"]
}

resource "aws_iam_role_policy" "github_releases" {
  count = length(aws_iam_role.github)

  name = "find-cluster"
  role = aws_iam_role.github[0].id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect   = "Allow"
      Action   = "eks:DescribeCluster"
      Resource = "*"
    }]
  })
}

output "github_role" {
  description = "AWS_ROLE_ARN of the repository's variables."
  value       = one(aws_iam_role.github[*].arn)
}
