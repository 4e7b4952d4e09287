"""Learning: sample and pack batches from the replay, prefetch them, take one update.

A batch is packed in :mod:`amago_core.learning.packing`, moved to the device in
:mod:`amago_core.learning.batch`, prefetched in :mod:`amago_core.learning.loader`, and used for one
update in :mod:`amago_core.learning.learner`.
"""
