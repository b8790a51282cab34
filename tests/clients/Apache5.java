import org.apache.hc.client5.http.auth.AuthScope;
import org.apache.hc.client5.http.auth.UsernamePasswordCredentials;
import org.apache.hc.client5.http.impl.auth.BasicCredentialsProvider;
import org.apache.hc.client5.http.impl.classic.CloseableHttpClient;
import org.apache.hc.client5.http.impl.classic.CloseableHttpResponse;
import org.apache.hc.client5.http.impl.classic.HttpClients;
import org.apache.hc.client5.http.impl.io.PoolingHttpClientConnectionManagerBuilder;
import org.apache.hc.client5.http.ssl.SSLConnectionSocketFactory;
import org.apache.hc.core5.http.ContentType;
import org.apache.hc.core5.http.HttpHost;
import org.apache.hc.core5.http.io.entity.ByteArrayEntity;
import org.apache.hc.core5.http.io.entity.EntityUtils;
import org.apache.hc.core5.http.io.support.ClassicRequestBuilder;

/** Apache HttpClient 5. */
final class Apache5 {
    public static void main(String[] args) throws Exception {
        Steps steps = new Steps(args);
        HttpHost proxy = new HttpHost(steps.proxy.getScheme(), steps.proxy.getHost(), steps.proxy.getPort());
        BasicCredentialsProvider credentials = new BasicCredentialsProvider();
        credentials.setCredentials(
                new AuthScope(proxy), new UsernamePasswordCredentials(steps.user, steps.password.toCharArray()));
        try (CloseableHttpClient client = HttpClients.custom()
                .setProxy(proxy)
                .setDefaultCredentialsProvider(credentials)
                .setConnectionManager(PoolingHttpClientConnectionManagerBuilder.create()
                        .setSSLSocketFactory(new SSLConnectionSocketFactory(Steps.trust()))
                        .build())
                .build()) {
            steps.run((method, url, body) -> {
                ClassicRequestBuilder request = ClassicRequestBuilder.create(method).setUri(url);
                if (body != null) {
                    request.setEntity(new ByteArrayEntity(body, ContentType.APPLICATION_OCTET_STREAM));
                }
                try (CloseableHttpResponse response = client.execute(request.build())) {
                    byte[] answer = response.getEntity() == null
                            ? new byte[0] : EntityUtils.toByteArray(response.getEntity());
                    Steps.say(response.getCode(), answer);
                }
            });
        }
    }
}
