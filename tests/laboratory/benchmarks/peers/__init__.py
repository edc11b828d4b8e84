"""Other people's libraries as contestants, a file for each, so that any of them may be absent.

A contestant, also ``ours.py``, ``expert.py`` and ``textbook.py``, is a module with these functions,
of which it lacks those for what it cannot do:

- ``training(network, rule)``: contestants for training steps, by variant (such as a number of
  threads): for each a function that makes an object with ``step(x, y)``, which learns from one
  batch and returns its loss. The object may have ``begin()``, called before a slice, and
  ``wait()``, for what it still computes in the background.
- ``batches(batches)``: the batches as its own arrays.
- ``timed(network, rule)``: what to time instead of the steps one by one.
- ``epoch(rule)``, ``optimizer(rule, size, tensors)``, ``operation(name)``, ``chain(length)``: what
  to time, by variant.
"""
