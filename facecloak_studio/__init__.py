"""`facecloak studio`: a page on this machine to try masks and see, in words, what recognizers make of the photos.

What it shows of a photo (:mod:`facecloak_studio.card`) is also what the demo's report shows.
"""
