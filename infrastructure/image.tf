resource "aws_ecr_repository" "pipeline" {
  name = var.name
  # What a tag names never changes: going back to one gives what it was.
  image_tag_mutability = "IMMUTABLE"

  image_scanning_configuration {
    scan_on_push = true
  }
}

resource "aws_ecr_lifecycle_policy" "pipeline" {
  repository = aws_ecr_repository.pipeline.name
  policy = jsonencode({
    rules = [{
      rulePriority = 1
      description  = "Keep the last 20 to go back to."
      selection    = { tagStatus = "any", countType = "imageCountMoreThan", countNumber = 20 }
      action       = { type = "expire" }
    }]
  })
}

locals {
  image = "${aws_ecr_repository.pipeline.repository_url}:${var.image_tag}"
}
