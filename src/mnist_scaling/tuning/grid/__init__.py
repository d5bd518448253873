"""From overrides to the cells of a grid."""
