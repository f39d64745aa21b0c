package com.example.edgert;

import android.app.Activity;
import android.content.Intent;
import android.graphics.Bitmap;
import android.graphics.BitmapFactory;
import android.net.Uri;
import android.os.Bundle;
import android.widget.ImageView;
import android.widget.TextView;

import com.chaquo.python.PyException;
import com.chaquo.python.PyObject;
import com.chaquo.python.Python;
import com.chaquo.python.android.AndroidPlatform;

import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;

/** Shows a picture and what edgert says is on it: a garment that comes with the classifier, or a chosen one. */
public class MainActivity extends Activity {
    private static final int CHOOSE = 1;

    /** Pictures are decoded to at most about this many pixels a side; classifiers look at a few hundred. */
    private static final int SIDE = 1024;

    /** Python starts and answers here, off the thread that draws. */
    private static final ExecutorService worker = Executors.newSingleThreadExecutor();

    @Override
    protected void onCreate(Bundle state) {
        super.onCreate(state);
        setContentView(R.layout.main);
        findViewById(R.id.choose).setOnClickListener(view -> {
            Intent request = new Intent(Intent.ACTION_OPEN_DOCUMENT).addCategory(Intent.CATEGORY_OPENABLE);
            startActivityForResult(request.setType("image/*"), CHOOSE);
        });
        worker.execute(() -> {
            try {
                String sample = classifier().callAttr("sample").toString();
                answer(BitmapFactory.decodeFile(sample));
            } catch (PyException error) {
                show(null, error.getMessage());
            }
        });
    }

    @Override
    protected void onActivityResult(int request, int result, Intent data) {
        super.onActivityResult(request, result, data);
        if (request == CHOOSE && result == RESULT_OK && data != null && data.getData() != null) {
            Uri source = data.getData();
            worker.execute(() -> {
                try {
                    answer(decode(source));
                } catch (IOException | SecurityException | PyException error) {
                    show(null, error.getMessage());
                }
            });
        }
    }

    /** The module in app/src/main/python; Python is started when it is first asked for. */
    private PyObject classifier() {
        if (!Python.isStarted()) {
            Python.start(new AndroidPlatform(this));
        }
        return Python.getInstance().getModule("classifier");
    }

    /** The picture at `source`, by every second, fourth, ... pixel if it is much larger than SIDE. */
    private Bitmap decode(Uri source) throws IOException {
        BitmapFactory.Options options = new BitmapFactory.Options();
        options.inJustDecodeBounds = true;
        try (InputStream stream = getContentResolver().openInputStream(source)) {
            BitmapFactory.decodeStream(stream, null, options);
        }
        options.inSampleSize = Math.max(1, Integer.highestOneBit(Math.min(options.outWidth, options.outHeight) / SIDE));
        options.inJustDecodeBounds = false;
        try (InputStream stream = getContentResolver().openInputStream(source)) {
            return BitmapFactory.decodeStream(stream, null, options);
        }
    }

    /** Shows what edgert says of the picture: its pixels go over as bytes R, G, B, A, row by row. */
    private void answer(Bitmap decoded) {
        if (decoded == null) {
            show(null, "This is no picture.");
            return;
        }
        Bitmap picture = decoded.copy(Bitmap.Config.ARGB_8888, false);
        ByteBuffer pixels = ByteBuffer.allocate(picture.getByteCount());
        picture.copyPixelsToBuffer(pixels);
        PyObject words = classifier().callAttr("classify", pixels.array(), picture.getWidth(), picture.getHeight());
        show(picture, words.toString());
    }

    private void show(Bitmap picture, String text) {
        runOnUiThread(() -> {
            ((ImageView) findViewById(R.id.picture)).setImageBitmap(picture);
            ((TextView) findViewById(R.id.answer)).setText(text);
        });
    }
}
