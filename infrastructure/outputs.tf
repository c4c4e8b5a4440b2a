output "repository" {
  description = "Where the image is pushed to."
  value       = aws_ecr_repository.pipeline.repository_url
}

output "address" {
  description = "Where estimates are asked for."
  value       = "${lower(local.listener.protocol)}://${aws_lb.service.dns_name}"
}

output "state_machine" {
  description = "What a run is started of by hand."
  value       = aws_sfn_state_machine.run.arn
}
