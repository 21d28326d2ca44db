"""The promotion gate: whether a challenger is really better than the champion, on rows that neither saw."""
