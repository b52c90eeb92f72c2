"""What authors of images copy into them: each file stands alone, nothing here imports it."""
