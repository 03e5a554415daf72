"""What made each file: the record every command writes, and the audit that reads the chain."""
