package logpipe;

import java.util.HashMap;
import java.util.Map;
import javax.security.auth.login.AppConfigurationEntry;
import javax.security.auth.login.Configuration;
import org.apache.flume.ChannelException;
import org.apache.flume.Context;
import org.apache.flume.Event;
import org.apache.flume.Transaction;
import org.apache.flume.channel.AbstractChannel;
import org.apache.flume.conf.ConfigurationException;
import org.apache.flume.instrumentation.ChannelCounter;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/**
 * A Kafka topic as the channel of `TopicHdfsSink`, which takes records with their offsets instead of events. Keys:
 * `kafka.bootstrap.servers`, `kafka.topic`, and `kafka.consumer.*` as Kafka has them, `group.id` among them.
 */
public final class TopicChannel extends AbstractChannel {
  private final Map<String, Object> settings = new HashMap<>();
  private String topic;
  private ChannelCounter counter;

  @Override
  public void configure(Context context) {
    topic = context.getString("kafka.topic");
    String bootstrap = context.getString("kafka.bootstrap.servers");
    if (topic == null || bootstrap == null) {
      throw new ConfigurationException(getName() + " needs kafka.topic and kafka.bootstrap.servers");
    }
    settings.put("bootstrap.servers", bootstrap);
    settings.put("max.poll.records", "20000");
    settings.put("max.partition.fetch.bytes", "4194304");
    // A fetch waits a moment for company: small ones cost the broker and this agent more than the lines do.
    settings.put("fetch.min.bytes", "65536");
    settings.put("fetch.max.wait.ms", "200");
    settings.put("metadata.max.age.ms", "10000"); // how soon added partitions are seen
    settings.put(
        "partition.assignment.strategy", "org.apache.kafka.clients.consumer.CooperativeStickyAssignor");
    settings.putAll(context.getSubProperties("kafka.consumer."));
    settings.put("enable.auto.commit", "false");
    // Where to go on is said by the chain. A place that Kafka does not have is an error to be told, not a detail.
    settings.put("auto.offset.reset", "none");
    counter = new ChannelCounter(getName());
  }

  @Override
  public synchronized void start() {
    counter.start();
    super.start();
  }

  @Override
  public synchronized void stop() {
    counter.stop();
    super.stop();
  }

  String topic() {
    return topic;
  }

  ChannelCounter counter() {
    return counter;
  }

  /** A consumer of its own for each thread that takes. */
  KafkaConsumer<byte[], byte[]> consumer() {
    return new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer());
  }

  /** Asks about the topic; the connection is as the consumers'. */
  Admin admin() {
    Map<String, Object> own = new HashMap<>(settings);
    own.keySet().removeIf(key -> !key.matches("bootstrap\\.servers|security\\..*|sasl\\..*|ssl\\..*"));
    // By default it looks for the first addresses again while no broker answers: 1,500 times and log lines a second.
    own.put("metadata.recovery.strategy", "none");
    return Admin.create(own);
  }

  /** What to say where Kafka refuses the login, which stands in the file of `java.security.auth.login.config`. */
  String refused(String reason) {
    String file = System.getProperty("java.security.auth.login.config");
    String user = "";
    if (file != null) {
      for (AppConfigurationEntry entry : Configuration.getConfiguration().getAppConfigurationEntry("KafkaClient")) {
        user = " as user " + entry.getOptions().get("username") + ", with the password of " + file;
      }
    }
    return "Kafka at " + settings.get("bootstrap.servers") + " does not let this agent in" + user + ": " + reason
        + ": put LOGPIPE_KAFKA_USER, LOGPIPE_KAFKA_PASSWORD_FILE or LOGPIPE_KAFKA_CA_FILE right, and start anew";
  }

  @Override
  public void put(Event event) {
    throw new ChannelException(getName() + " is filled through Kafka");
  }

  @Override
  public Event take() {
    throw new ChannelException(getName() + " is emptied by TopicHdfsSink only");
  }

  @Override
  public Transaction getTransaction() {
    throw new ChannelException(getName() + " has no Flume transactions");
  }
}
