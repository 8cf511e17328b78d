"""Putting a mask on a photo: find the face, place the mask in its frame, blend it in, write the photo again."""
