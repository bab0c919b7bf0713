"""Several pools of one target in a process, which are one to whoever manages them."""
