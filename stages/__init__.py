"""Deveno's stages: functions from declared inputs to declared outputs."""
