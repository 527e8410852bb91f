"""The people of locustfile.py, what they check, and how many of them come when. See ../README.md."""
