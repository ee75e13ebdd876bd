"""What a run can be resumed from: its files, how long they are kept, who writes them."""
