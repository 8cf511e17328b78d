"""What both FaceCloak servers and their clients share about gRPC: errors, interceptor, server, client, settings,
telemetry, health, and the doctor.

It depends on :mod:`facecloak`; neither :mod:`facecloak` nor another base module depends on it.
"""
