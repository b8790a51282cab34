import java.io.InputStream;
import java.io.OutputStream;
import java.net.Authenticator;
import java.net.HttpURLConnection;
import java.net.InetSocketAddress;
import java.net.PasswordAuthentication;
import java.net.Proxy;
import javax.net.ssl.HttpsURLConnection;

/** The JDK's HttpURLConnection. It cannot speak TLS to a proxy. */
final class UrlConnection {
    public static void main(String[] args) throws Exception {
        Steps steps = new Steps(args);
        HttpsURLConnection.setDefaultSSLSocketFactory(Steps.trust().getSocketFactory());
        Authenticator.setDefault(new Authenticator() {
            @Override
            protected PasswordAuthentication getPasswordAuthentication() {
                return new PasswordAuthentication(steps.user, steps.password.toCharArray());
            }
        });
        Proxy proxy = new Proxy(Proxy.Type.HTTP, new InetSocketAddress(steps.proxy.getHost(), steps.proxy.getPort()));
        steps.run((method, url, body) -> {
            HttpURLConnection connection = (HttpURLConnection) url.toURL().openConnection(proxy);
            connection.setRequestMethod(method);
            if (body != null) {
                connection.setDoOutput(true);
                try (OutputStream out = connection.getOutputStream()) {
                    out.write(body);
                }
            }
            int status = connection.getResponseCode();
            try (InputStream in = status < 400 ? connection.getInputStream() : connection.getErrorStream()) {
                Steps.say(status, in == null ? new byte[0] : in.readAllBytes());
            }
        });
    }
}
