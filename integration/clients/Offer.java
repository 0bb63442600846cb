import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;

// Offer sends a GET and a POST by Java's own client, which offers h2c on each, and
// prints what comes back.
class Offer {
	public static void main(String[] args) throws Exception {
		HttpClient client = HttpClient.newHttpClient();
		for (HttpRequest.Builder request : new HttpRequest.Builder[] {
				HttpRequest.newBuilder().GET(),
				HttpRequest.newBuilder().POST(HttpRequest.BodyPublishers.ofString("hello")) }) {
			HttpResponse<String> answer = client.send(request.uri(URI.create(args[0])).build(), HttpResponse.BodyHandlers.ofString());
			System.out.println(answer.statusCode() + " " + answer.version() + " " + answer.body());
		}
	}
}
