"""How protection is measured: after the upload, on recognizers that enrollment never saw. No part of the product."""
