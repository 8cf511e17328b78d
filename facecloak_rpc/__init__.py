"""What both FaceCloak servers and their clients share about gRPC: errors, interceptor, server, client, logs, metrics.

It depends on :mod:`facecloak`; neither :mod:`facecloak` nor another base module depends on it.
"""
