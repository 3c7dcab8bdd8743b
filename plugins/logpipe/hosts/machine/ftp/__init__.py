"""The FTP server of the one-machine stack and the real log lines that it serves."""
