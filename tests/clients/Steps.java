import java.io.FileInputStream;
import java.math.BigInteger;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.security.KeyStore;
import java.security.MessageDigest;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import java.util.Arrays;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

/** What the Java clients share: arguments, trust, reading steps, printing answers. */
final class Steps {
    interface Client {
        /** Sends a request, and prints the answer with {@link #say}. */
        void send(String method, URI url, byte[] body) throws Exception;
    }

    final URI proxy;
    final String user;
    final String password;
    private final String[] steps;

    Steps(String[] args) {
        proxy = URI.create(args[0]);
        user = args[1];
        password = args[2];
        steps = Arrays.copyOfRange(args, 3, args.length);
    }

    void run(Client client) {
        for (String step : steps) {
            String[] words = step.split(" ");
            byte[] body = null;
            if (words[0].equals("POST")) {
                body = new byte[Integer.parseInt(words[2])];
                Arrays.fill(body, (byte) 'x');
            }
            try {
                client.send(words[0], URI.create(words[1]), body);
            } catch (Exception error) {
                System.out.println("error: " + error);
            }
        }
    }

    static void say(int status, byte[] body) throws Exception {
        String shown = new String(body, StandardCharsets.UTF_8);
        if (body.length > 100) {
            byte[] hash = MessageDigest.getInstance("SHA-256").digest(body);
            shown = String.format("%064x", new BigInteger(1, hash));
        }
        System.out.println(status + " " + shown);
    }

    /** Trusts the certificates of the file that the property "ca" names. */
    static SSLContext trust() throws Exception {
        KeyStore store = KeyStore.getInstance(KeyStore.getDefaultType());
        store.load(null, null);
        try (FileInputStream file = new FileInputStream(System.getProperty("ca"))) {
            int count = 0;
            for (Certificate certificate : CertificateFactory.getInstance("X.509").generateCertificates(file)) {
                store.setCertificateEntry("ca" + count++, certificate);
            }
        }
        TrustManagerFactory trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trust.init(store);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(null, trust.getTrustManagers(), null);
        return context;
    }
}
