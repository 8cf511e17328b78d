"""`make demo`: both services, real recognizers and a real face, on this machine.

It talks to the services only as a client would. What it prints and writes is measured on what came back.
"""
