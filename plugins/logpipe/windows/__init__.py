"""What the windows job leaves on HDFS, and how it is read: ``docs/windows.md``, decision 8."""
