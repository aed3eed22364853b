"""Images that lie with the user: listed, opened once, divided, and compared with what the split manifest says."""
