"""`make looks`: what masks look like at every strength, on photos at full size, with what is measured of each.

Likeness cannot be measured by a recognizer that a mask is made to mislead, so somebody has to look.
"""
