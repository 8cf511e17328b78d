"""Recognizers on NVIDIA Triton: its repository, a server for developers and tests, and the runtime that asks one.

Needs the extra ``triton``, which nothing outside this room imports.
"""
