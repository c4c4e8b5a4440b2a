locals {
  listener = (
    var.certificate_arn == null
    ? { protocol = "HTTP", port = 80 }
    : { protocol = "HTTPS", port = 443 }
  )
}

resource "aws_lb" "service" {
  name                       = var.name
  subnets                    = aws_subnet.public[*].id
  security_groups            = [aws_security_group.load_balancer.id]
  drop_invalid_header_fields = true
}

resource "aws_lb_target_group" "service" {
  name        = var.name
  vpc_id      = aws_vpc.pipeline.id
  target_type = "ip"
  protocol    = "HTTP"
  port        = local.port
  # A replica that goes gets no more requests, and then SIGTERM.
  deregistration_delay = 15

  health_check {
    path              = "/readyz"
    interval          = 10
    timeout           = 5
    healthy_threshold = 2
  }
}

# Clients see the interface alone: no metrics, no documentation.
resource "aws_lb_listener" "service" {
  load_balancer_arn = aws_lb.service.arn
  protocol          = local.listener.protocol
  port              = local.listener.port
  certificate_arn   = var.certificate_arn

  default_action {
    type = "fixed-response"
    fixed_response {
      content_type = "text/plain"
      status_code  = "404"
    }
  }
}

resource "aws_lb_listener_rule" "api" {
  listener_arn = aws_lb_listener.service.arn

  condition {
    path_pattern {
      values = ["/api/*"]
    }
  }
  action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.service.arn
  }
}

resource "aws_ecs_service" "service" {
  name            = "${var.name}-serve-model"
  cluster         = aws_ecs_cluster.pipeline.id
  task_definition = aws_ecs_task_definition.stage["serve-model"].arn
  launch_type     = "FARGATE"
  desired_count   = var.replicas
  # The old replicas go when the new ones answer; if those do not, they go back.
  deployment_minimum_healthy_percent = 100
  deployment_maximum_percent         = 200
  deployment_circuit_breaker {
    enable   = true
    rollback = true
  }
  health_check_grace_period_seconds = 60

  network_configuration {
    subnets          = aws_subnet.public[*].id
    security_groups  = [aws_security_group.service.id]
    assign_public_ip = true
  }

  load_balancer {
    target_group_arn = aws_lb_target_group.service.arn
    container_name   = "serve-model"
    container_port   = local.port
  }

  depends_on = [aws_lb_listener_rule.api, aws_iam_role_policy.start]
}
