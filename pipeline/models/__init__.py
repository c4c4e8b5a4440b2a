"""The models in a bucket, for the person on call."""
