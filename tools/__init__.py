"""What only the repository needs: measured data files and generated pages."""
