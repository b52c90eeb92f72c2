"""``make bench``: what is fast enough is measured, as ratios to what it could be at best."""
