"""Raw scans to volumes on a recipe's grid."""
