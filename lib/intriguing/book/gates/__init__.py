"""Gates: functions that look at the files of the book and name what is wrong."""
