package logpipe;

import static java.nio.charset.StandardCharsets.ISO_8859_1;
import static java.nio.charset.StandardCharsets.UTF_8;

import java.util.List;
import org.apache.flume.Context;
import org.apache.flume.Event;
import org.apache.flume.interceptor.Interceptor;

/**
 * Gives the lines of a netcat source their bytes back.
 *
 * <p>Flume 1.11's netcat source decodes a line with its {@code encoding} and always writes it as UTF-8. With
 * encoding ISO-8859-1 that can be undone: every byte became one character, and becomes one byte again.
 */
public final class BytesInterceptor implements Interceptor {

  @Override
  public Event intercept(Event event) {
    event.setBody(new String(event.getBody(), UTF_8).getBytes(ISO_8859_1));
    return event;
  }

  @Override
  public List<Event> intercept(List<Event> events) {
    events.forEach(this::intercept);
    return events;
  }

  @Override
  public void initialize() {}

  @Override
  public void close() {}

  /** Made by Flume from the agent's configuration; there is nothing to set. */
  public static final class Builder implements Interceptor.Builder {

    @Override
    public Interceptor build() {
      return new BytesInterceptor();
    }

    @Override
    public void configure(Context context) {}
  }
}
