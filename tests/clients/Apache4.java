import org.apache.http.HttpHost;
import org.apache.http.auth.AuthScope;
import org.apache.http.auth.UsernamePasswordCredentials;
import org.apache.http.client.methods.CloseableHttpResponse;
import org.apache.http.client.methods.RequestBuilder;
import org.apache.http.entity.ByteArrayEntity;
import org.apache.http.impl.client.BasicCredentialsProvider;
import org.apache.http.impl.client.CloseableHttpClient;
import org.apache.http.impl.client.HttpClients;
import org.apache.http.util.EntityUtils;

/** Apache HttpClient 4. */
final class Apache4 {
    public static void main(String[] args) throws Exception {
        Steps steps = new Steps(args);
        HttpHost proxy = new HttpHost(steps.proxy.getHost(), steps.proxy.getPort(), steps.proxy.getScheme());
        BasicCredentialsProvider credentials = new BasicCredentialsProvider();
        credentials.setCredentials(new AuthScope(proxy), new UsernamePasswordCredentials(steps.user, steps.password));
        try (CloseableHttpClient client = HttpClients.custom()
                .setProxy(proxy)
                .setDefaultCredentialsProvider(credentials)
                .setSSLContext(Steps.trust())
                .build()) {
            steps.run((method, url, body) -> {
                RequestBuilder request = RequestBuilder.create(method).setUri(url);
                if (body != null) {
                    request.setEntity(new ByteArrayEntity(body));
                }
                try (CloseableHttpResponse response = client.execute(request.build())) {
                    Steps.say(response.getStatusLine().getStatusCode(), EntityUtils.toByteArray(response.getEntity()));
                }
            });
        }
    }
}
