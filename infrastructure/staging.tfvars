# The names of accounts are to be changed: see docs/aws.md.
name      = "time-to-dispatch-staging"
region    = "eu-west-1"
bucket    = "time-to-dispatch-staging"
clients   = ["203.0.113.0/24"]
operators = ["developers@example.com"]
replicas  = 1
