"""Asynchronous training: a supervisor, a learner process and collector processes."""
