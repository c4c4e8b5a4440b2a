"""Estimates of many orders at once, before anybody asks for them one by one."""
