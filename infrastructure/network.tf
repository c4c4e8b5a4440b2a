# Tasks have public addresses, and nobody may connect to them but the load balancer: a NAT
# gateway in front of private ones would cost more than all the rest.

data "aws_availability_zones" "available" {
  state = "available"
}

resource "aws_vpc" "pipeline" {
  cidr_block           = "10.0.0.0/24"
  enable_dns_hostnames = true
  tags                 = { Name = var.name }
}

resource "aws_subnet" "public" {
  count = 2

  vpc_id            = aws_vpc.pipeline.id
  availability_zone = data.aws_availability_zones.available.names[count.index]
  cidr_block        = cidrsubnet(aws_vpc.pipeline.cidr_block, 1, count.index)
  tags              = { Name = var.name }
}

resource "aws_internet_gateway" "pipeline" {
  vpc_id = aws_vpc.pipeline.id
}

resource "aws_route_table" "public" {
  vpc_id = aws_vpc.pipeline.id

  route {
    cidr_block = "0.0.0.0/0"
    gateway_id = aws_internet_gateway.pipeline.id
  }
}

resource "aws_route_table_association" "public" {
  count = 2

  subnet_id      = aws_subnet.public[count.index].id
  route_table_id = aws_route_table.public.id
}

# To S3 without the internet, and without a price.
resource "aws_vpc_endpoint" "s3" {
  vpc_id          = aws_vpc.pipeline.id
  service_name    = "com.amazonaws.${var.region}.s3"
  route_table_ids = [aws_route_table.public.id]
}

resource "aws_security_group" "load_balancer" {
  name        = "${var.name}-load-balancer"
  description = "Clients reach the load balancer, and it reaches the service."
  vpc_id      = aws_vpc.pipeline.id
}

resource "aws_vpc_security_group_ingress_rule" "clients" {
  for_each = toset(var.clients)

  security_group_id = aws_security_group.load_balancer.id
  cidr_ipv4         = each.value
  ip_protocol       = "tcp"
  from_port         = local.listener.port
  to_port           = local.listener.port
}

resource "aws_vpc_security_group_egress_rule" "to_service" {
  security_group_id            = aws_security_group.load_balancer.id
  referenced_security_group_id = aws_security_group.service.id
  ip_protocol                  = "tcp"
  from_port                    = local.port
  to_port                      = local.port
}

resource "aws_security_group" "service" {
  name        = "${var.name}-serve-model"
  description = "The load balancer reaches the service, and it reaches HTTPS."
  vpc_id      = aws_vpc.pipeline.id
}

resource "aws_vpc_security_group_ingress_rule" "from_load_balancer" {
  security_group_id            = aws_security_group.service.id
  referenced_security_group_id = aws_security_group.load_balancer.id
  ip_protocol                  = "tcp"
  from_port                    = local.port
  to_port                      = local.port
}

resource "aws_security_group" "training" {
  name        = "${var.name}-train-model"
  description = "Nobody reaches training, and it reaches HTTPS."
  vpc_id      = aws_vpc.pipeline.id
}

resource "aws_vpc_security_group_egress_rule" "https" {
  for_each = {
    service  = aws_security_group.service.id
    training = aws_security_group.training.id
  }

  security_group_id = each.value
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}
