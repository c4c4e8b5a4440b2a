terraform {
  # The state's lock lies beside it in S3 from 1.10 on.
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

  default_tags {
    tags = { pipeline = var.name }
  }
}

data "aws_caller_identity" "current" {}
