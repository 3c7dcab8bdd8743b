"""What stands where on HDFS and in Kafka: paths, names, formats and their versions."""
