"""What goes out to phones, and what does not: the gate between a challenger and the champion, and signed releases."""
