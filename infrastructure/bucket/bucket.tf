# Deliveries, models, records and pages. What going back needs is never removed: objects
# are only ever added, and versions expire of those alone that somebody has overwritten.

variable "name" {
  description = "Of the bucket; it is global."
  type        = string
}

resource "aws_s3_bucket" "pipeline" {
  bucket = var.name
}

resource "aws_s3_bucket" "access_log" {
  bucket = "${var.name}-access-log"
  # Deleting it is logged, too.
  force_destroy = true
}

locals {
  buckets = {
    pipeline   = aws_s3_bucket.pipeline
    access_log = aws_s3_bucket.access_log
  }
}

resource "aws_s3_bucket_public_access_block" "none" {
  for_each = local.buckets

  bucket                  = each.value.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_server_side_encryption_configuration" "each" {
  for_each = local.buckets

  bucket = each.value.id
  rule {
    apply_server_side_encryption_by_default {
      sse_algorithm = "AES256"
    }
  }
}

resource "aws_s3_bucket_versioning" "pipeline" {
  bucket = aws_s3_bucket.pipeline.id
  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "pipeline" {
  # Versions expire only where there are some.
  bucket = aws_s3_bucket_versioning.pipeline.bucket

  rule {
    id     = "keep-for-a-year-what-somebody-removed"
    status = "Enabled"
    filter {}
    noncurrent_version_expiration {
      noncurrent_days = 365
    }
    abort_incomplete_multipart_upload {
      days_after_initiation = 7
    }
  }

  rule {
    id     = "pages-are-made-anew"
    status = "Enabled"
    filter {
      prefix = "reports/"
    }
    noncurrent_version_expiration {
      noncurrent_days = 30
    }
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "access_log" {
  bucket = aws_s3_bucket.access_log.id

  rule {
    id     = "forget-after-90-days"
    status = "Enabled"
    filter {}
    expiration {
      days = 90
    }
  }
}

resource "aws_s3_bucket_logging" "pipeline" {
  bucket        = aws_s3_bucket.pipeline.id
  target_bucket = aws_s3_bucket.access_log.id
  target_prefix = ""
  # S3 asks whether it may log there.
  depends_on = [aws_s3_bucket_policy.access_log]
}

# A delivery has come: S3 tells EventBridge.
resource "aws_s3_bucket_notification" "pipeline" {
  bucket      = aws_s3_bucket.pipeline.id
  eventbridge = true
}

resource "aws_s3_bucket_policy" "pipeline" {
  bucket = aws_s3_bucket.pipeline.id
  policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [local.encrypted_alone["pipeline"]]
  })
  depends_on = [aws_s3_bucket_public_access_block.none]
}

resource "aws_s3_bucket_policy" "access_log" {
  bucket = aws_s3_bucket.access_log.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      local.encrypted_alone["access_log"],
      {
        Sid       = "LetS3Log"
        Effect    = "Allow"
        Principal = { Service = "logging.s3.amazonaws.com" }
        Action    = "s3:PutObject"
        Resource  = "${aws_s3_bucket.access_log.arn}/*"
        Condition = { ArnLike = { "aws:SourceArn" = aws_s3_bucket.pipeline.arn } }
      },
    ]
  })
  depends_on = [aws_s3_bucket_public_access_block.none]
}

locals {
  encrypted_alone = {
    for name, bucket in local.buckets : name => {
      Sid       = "EncryptedConnectionsAlone"
      Effect    = "Deny"
      Principal = { AWS = "*" }
      Action    = "s3:*"
      Resource  = [bucket.arn, "${bucket.arn}/*"]
      Condition = { Bool = { "aws:SecureTransport" = "false" } }
    }
  }
}

output "name" {
  value = aws_s3_bucket.pipeline.id
}
