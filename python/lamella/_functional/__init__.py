"""The functions behind `lamella.functional`, one file per kind."""
