# The names of accounts are to be changed: see docs/aws.md.
name      = "time-to-dispatch"
region    = "eu-west-1"
bucket    = "time-to-dispatch"
clients   = ["203.0.113.0/24"]
operators = ["operators@example.com"]
