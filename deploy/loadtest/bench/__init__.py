"""Scenarios of deploy/loadtest/run: what is started, put under load, looked at meanwhile and drawn afterwards."""
