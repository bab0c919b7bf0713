"""What several pages draw: slots, bars, the last hour of each target, and the paths of SVG of all lines."""
