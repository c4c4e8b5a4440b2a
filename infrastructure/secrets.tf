# Their values are put by hand, so that none stands in the state: see docs/aws.md.

resource "aws_secretsmanager_secret" "signing_key" {
  name        = "${var.name}/model-signing-key"
  description = "MODEL_SIGNING_KEY: what signs and verifies models."
}

resource "aws_secretsmanager_secret" "channels" {
  name        = "${var.name}/channels"
  description = "ALERT_URLS and REPORT_URLS, as JSON: who is told what."
}
