import java.io.ByteArrayOutputStream;
import java.net.InetSocketAddress;
import java.net.URI;
import java.nio.ByteBuffer;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;

/** Prints the bodies of the URLs: channels that a selector knew before they were connected. */
public class Nio {
    public static void main(String[] urls) throws Exception {
        for (String url : urls) {
            System.out.print(fetch(URI.create(url)));
        }
    }

    private static String fetch(URI url) throws Exception {
        String host = url.getHost().replaceAll("[\\[\\]]", "");
        String request = "GET " + url.getPath() + " HTTP/1.0\r\nHost: e2e\r\n\r\n";
        ByteArrayOutputStream answer = new ByteArrayOutputStream();
        try (Selector selector = Selector.open(); SocketChannel channel = SocketChannel.open()) {
            channel.configureBlocking(false);
            SelectionKey key = channel.register(selector, SelectionKey.OP_CONNECT);
            if (selector.select(50) > 0 && channel.isConnected()) {
                throw new IllegalStateException("connected to nobody");
            }
            selector.selectedKeys().clear();
            channel.connect(new InetSocketAddress(host, 80));
            while (!channel.isConnected()) {
                if (selector.select(30000) == 0) {
                    throw new IllegalStateException("nothing in 30 seconds");
                }
                selector.selectedKeys().clear();
                channel.finishConnect();
            }
            channel.write(ByteBuffer.wrap(request.getBytes(StandardCharsets.US_ASCII)));
            key.interestOps(SelectionKey.OP_READ);
            ByteBuffer buffer = ByteBuffer.allocate(65536);
            for (int n = 0; n >= 0; n = channel.read(buffer.clear())) {
                answer.write(buffer.array(), 0, n);
                if (n == 0) {
                    selector.select(30000);
                    selector.selectedKeys().clear();
                }
            }
        }
        String text = answer.toString(StandardCharsets.UTF_8);
        return text.substring(text.indexOf("\r\n\r\n") + 4);
    }
}
