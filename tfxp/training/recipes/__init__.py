"""Trainings described as data, resumed exactly."""
